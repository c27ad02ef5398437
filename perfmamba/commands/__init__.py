"""The verbs of the command line, one module each.

The help of a verb is the docstring of its function. Options that several verbs have are declared in
`options`, with their help. The verbs are listed in `verbs`, in the order of the help page. Importing them is
cheap: torch and transformers are imported when a verb runs.
"""
