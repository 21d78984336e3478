"""What commands share: options, tables, writers."""
