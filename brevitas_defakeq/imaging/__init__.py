"""Images from files to a detector's input: reading, crops, preprocessing. No torch needed."""
