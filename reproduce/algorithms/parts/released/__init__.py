"""Parts that only the methods `*-released` use: what the authors' code does where it is not what the papers say."""
