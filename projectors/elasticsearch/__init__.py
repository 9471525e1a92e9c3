"""The search read model: one document a user in Elasticsearch, found despite typos and accents.

Its mapping, its writer (`ElasticsearchUsers`) and its queries (`search_users`).
"""
