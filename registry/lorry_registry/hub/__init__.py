"""The registry served by the Hugging Face Hub's protocol: `lorry serve-hub`, so that HF_ENDPOINT reaches it.

repository.py   what clients write: repositories of commits, branches and tags, in plain files
versions.py     what is published, shown as commits
hub.py          both as one
release.py      from a tag to a published version; weights.py: what main may have
made.py         where files are kept that are made to be served
app.py, routes/ the protocol; tokens.py, links.py and uploads.py: who may do what, and files on their way in
"""
