"""What is written to Elasticsearch: mapping, bulk requests, checkpoints, versions.

Documents have external versions, so an older event never replaces a newer one. `catalog` opens the
versions; `search` imports only the name of the published alias.
"""
