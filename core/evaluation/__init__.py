"""Whether a mistake comes back: case sets, how they are taught, and how weights are measured on them.

cases      the file: rules, their training and held-out prompts, controls
staging    a case as the model meets it: files in a folder, earlier calls run
teach      a rule as the user of an ordinary session
measure    how often each rule is broken and followed on given weights
estimates  means over cases, with intervals
"""
