"""Data: readers, one prepared file a data set, task splits, batches on the device."""
