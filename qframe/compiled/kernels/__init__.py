"""Matrix products and convolutions for compiled updates; without them everything works, but slower."""
