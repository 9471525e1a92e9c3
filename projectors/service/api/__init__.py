"""What may be asked and how it is answered, for the routes and for the OpenAPI document.

`parameters` reads and checks what is asked, `asking` does that for a request, `answers` forms the
answer, `schemas` and `documents` describe both.
"""
