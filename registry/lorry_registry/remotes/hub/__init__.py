"""The Hugging Face Hub as a remote: hf://owner/name, one adapter a repository.

address.py      which repository, and which revision of it
repository.py   what is asked of one repository over the Hub's protocol; errors.py tells what goes wrong there
versions.py     tags as versions, and the manifests in their commits
remote.py       versions, aliases and notes as a `Remote`
publishing.py   one commit, then the tag that makes it a version
foreign.py      what other people put there, with what claims.py reads of their cards
contents.py     which files a version's commit has
card.py         README.md, written from the manifest; markdown.py escapes what strangers wrote
"""
