"""Step definitions: one module a noun.

Start with `world`, which every sentence is given. `service` starts and kills
what is asked, `faulty` is a driver that can be told to fail, `sentences` has
the words that steps are made of.
"""
