@wire
Feature: Proving the log
  Whoever keeps one checkpoint, signed with a key that the database never sees, can tell
  for ever whether the log still begins as it did then; and needs no copy of it for that.

  Rule: The log is signed while it grows

    Scenario: The newest checkpoint
      Given an available volume "db"
      When the newest checkpoint is asked for
      Then it is signed with the log's own key

    Scenario: Where everybody can keep it
      Given a checkpoint that an auditor keeps
      Then the same is in a stream from which nobody takes it away

  Rule: An event is proven to be in the log by a few hashes

    Scenario: What was asked first
      Given an available volume "db"
      When the creation of "db" is to be proven
      Then the proof leads from that event to the root hash of the log

    Scenario: What is not in it
      When an event beyond the end of the log is to be proven
      Then the request is refused as invalid
      And nothing is recorded

  Rule: A log is proven to have only grown

    Scenario: Since a checkpoint
      Given a checkpoint that an auditor keeps
      And an available volume "db"
      When it is to be proven that the log only grew since
      Then the proof leads from the kept root hash to the new one

    Scenario: Backwards
      Given an available volume "db"
      When it is to be proven that the log grew backwards
      Then the request is refused as invalid
      And nothing is recorded
