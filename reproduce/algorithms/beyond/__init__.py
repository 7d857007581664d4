"""Methods of other domains, as examples to run: nothing else imports them."""
