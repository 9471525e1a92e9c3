"""What is asked of Elasticsearch: text, filters, sorting, pages, highlights, facets.

`text` turns what people type into a query, `request` adds filters and order, `cursor` pages through
a point in time, `queries` sends it all. Only the command lines and tests import it.
"""
