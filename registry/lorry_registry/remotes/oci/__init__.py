"""OCI registries as remotes: a repository for each adapter, in the layout of ModelPack."""
