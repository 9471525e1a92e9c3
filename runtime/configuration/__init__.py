"""What `runtime.settings` is made of: the files and variables that settings come from, their rules.

It finds and reads TOML files and secrets, moves logins out of URLs, warns of variables that are no
settings, and checks every value. Only `runtime` imports it, and whoever needs the folder of a
local stack; nothing here knows the settings themselves.
"""
