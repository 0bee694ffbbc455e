"""What is typed after ``midstream``: one module for each group of commands.

A command reads its options, and calls what does the work, which is imported only then.

`streams`
    ``demo``, ``watch``, ``replay``, ``record``
`servers`
    ``publish``, ``serve``, ``proxy``, ``dash``
`checks`
    ``check``, ``loop``, ``doctor``
`asking`
    ``process``, ``analyze``, ``compare``, ``interactive``
`trying`
    ``simulate``, ``bench``
`tools`
    ``mcp``
`guides`
    ``docs``
`recordings`, `rules`
    The commands behind these words.
"""
