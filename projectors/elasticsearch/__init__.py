"""The read model of live users in Elasticsearch.

`index` is what is written and how versions are kept, `search` is what is queried. Both use `client`
(one connection, one error translation) and `folding` (accents and case, the same when indexing and
searching). `search` may import `index`, never the other way round.
"""
