"""The commands, a file each: parse, call the client, print."""
