"""The plugins that come with lorry: formats, adapters (kinds), bases, backends and tools."""
