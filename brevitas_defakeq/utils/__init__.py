"""What every package uses: errors and files. No torch."""
