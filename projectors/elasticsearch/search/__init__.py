"""Searching users in Elasticsearch: text, filters, order, pages, highlights, facets.

`text` turns what people type into a query, `request` adds filters and order, `cursor` pages through
a point in time, `queries` sends requests. Only the command lines and tests import it.
"""
