"""The relational read model: `user_views` and `user_summary` in PostgreSQL.

Its tables and views (`schema`), what keeps them up to date (`writer`), what people ask of them
(`queries`), and one connection with its errors explained (`database`).
"""
