"""The read model of current users in Elasticsearch.

`index` is what is written and how versions are kept, `search` is what is queried. Both use `client`
(connections and error translation) and `folding` (accents and case, the same for indexing and for
searching). `search` may import `index`, never the reverse.
"""
