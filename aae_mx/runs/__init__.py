"""A run's directory: what a training leaves, and how it is read again.

    config.json      the settings and what the data look like; written before the first step
    history.csv      one row per epoch
    checkpoints/     the last few: weights, optimizer states and how far the training was
    train.log        what was shown while it trained
    snapshots/       held-out codes after each epoch, if they were asked for
    figures/         made by ``plot``

It knows arrays and text, and no model. Nothing here is ever unpickled, and nothing is believed:
what a file announces is compared with what is expected before memory is taken for it. Files are
written aside and renamed, so that a reader sees the old one or the new one, never half.
"""
