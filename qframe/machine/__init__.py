"""The machine: the cache of native code, the allocator, deterministic operations."""
