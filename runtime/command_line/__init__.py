"""What all commands share: output and exit codes, progress, and what the root command passes on.

`terminal` prints results and errors, `context` carries the settings, `extras` says what to install;
`cli` has the commands `topics` and `config`. Every package with commands uses these.
"""
