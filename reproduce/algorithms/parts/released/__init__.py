"""Parts that only the methods `*-released` use: where the authors' code differs from the papers."""
