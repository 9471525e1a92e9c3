"""The servers as processes of this machine, under one supervisord for each stack.

`local` starts and stops a stack; `servers` and `server_files` say how each server is set up;
`programs` and `supervise` are about supervisord. Other packages use `LocalStack`.
"""
