"""What is written to Elasticsearch: mapping, bulk requests, checkpoints, versions.

Documents carry external versions, so an old event never replaces a newer one. `catalog` opens it;
`search` asks it for the names of indexes.
"""
