"""Generates the parts of the documentation that repeat what the code says, and checks the rest.

- `command_page`, `table_pages` and `roles_page` write docs/reference/*.md; `flow`, `trace` and
  `terminal` draw the pictures of these names in docs/images. `generated` lists all of these files:
  they are committed, and tests compare them with what would be generated.
- `screenshots` takes the pictures of the console; it is a command of its own.
- `pages` reads the pages that people write, `raised` finds the error codes in the source, and
  `site` checks the site that Sphinx built.

`python -m docsgen` generates, `make docs` builds the site. No product code may import this package.
"""
