"""Adapters at work on a running model: planned whole, put on by swapping objects, taken off by swapping back.

    part.py, swap.py    a model's modules by address, and one object exchanged for another and back
    plan.py             which layer of which adapter goes onto which module, checked before anything is touched
    stacked.py          layers that are up times down, run beside their module
    composed.py         all other layers, as a computed weight
    tokens.py           learned tokens in a tokenizer and an embedding
    attachment.py       all of that together: on, off, and at other strengths
    pipeline_model.py   a `Model` around a diffusers pipeline
    defaults.py         what a request leaves open
    pipeline_folder.py  from a folder to that pipeline

What imports torch stands in modules of its own, so that nothing here costs anything until a model runs.
"""
