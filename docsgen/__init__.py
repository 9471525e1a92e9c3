"""Generates the parts of the documentation that repeat what the code says, and checks the rest.

- `references` writes docs/reference/*.md, `pictures` and `terminal` write docs/images/*.svg: all of
  them are committed, and tests compare them with what would be generated.
- `pages` and `links` read the pages that people write; `site` checks the site that Sphinx built.

`python -m docsgen` generates, `make docs` builds the site. No product code may import this package.
"""
