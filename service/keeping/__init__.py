"""What is made of the log beside deciding: the keeper's process, and what runs in it.

`keeper` publishes, keeps the read models (`projecting`), leaves nothing in between
(`watcher`) and tells how far behind the log they are (`standing`, `telling`).
"""
