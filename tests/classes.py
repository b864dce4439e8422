"""What tests of any number of classes share."""


def confused(label, predicted, num_classes):
    """Confusion as nested lists, scan by scan: rows the true class, columns the predicted."""
    table = [[0] * num_classes for _ in range(num_classes)]
    for row, column in zip(label, predicted, strict=True):
        table[int(row)][int(column)] += 1
    return table
