"""Programs behind single Make targets. They may import everything; nothing imports them but the command line."""
