"""Recipes: how something was or is to be made, as a document that is planned, run, and run again to the same tensors.

document    what a recipe says, as pydantic models; its JSON schema is published
reading     a recipe from a file of JSON or YAML, or from the header of what was made by one
earlier     what lorry wrote before recipes had a schema
finding     inputs and models, by path, reference, name or digest
checking    whether names, options and values mean something here
plan        every step that is needed, in order, before anything is done
steps       one function for each operation
running     the steps, kept where they are finished, so that a run that was stopped goes on
comparing   whether what was made is what had been made before
"""
