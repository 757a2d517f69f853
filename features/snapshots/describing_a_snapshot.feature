@wire
Feature: Describing a snapshot
  People find the snapshot that they need again: by its name, by what they have said
  of it, and by where it stands among the others.

  Rule: What is said of a snapshot can be changed

    Scenario: Its name
      Given an available volume "db"
      And a snapshot "monday" of "db"
      When the snapshot "monday" is renamed to "before the upgrade"
      Then the snapshot "monday" is called "before the upgrade"

    Scenario: Its labels, which are replaced as a whole
      Given an available volume "db"
      And a snapshot "monday" of "db"
      And the snapshot "monday" was labelled "keep" as "a week"
      When the snapshot "monday" is labelled "tier" as "gold"
      Then the snapshot "monday" has only the label "tier" as "gold"

  Rule: The snapshots of a volume are a chain, oldest first

    Scenario: Three of them
      Given an available volume "db"
      And a snapshot "monday" of "db"
      And a snapshot "tuesday" of "db"
      And a snapshot "wednesday" of "db"
      When the snapshots of "db" are listed
      Then the snapshots "monday, tuesday, wednesday" are found, oldest first

    Scenario: One is gone
      Given an available volume "db"
      And a snapshot "monday" of "db"
      And a snapshot "tuesday" of "db"
      And the snapshot "monday" was deleted
      When the snapshots of "db" are listed
      Then the snapshots "tuesday" are found, oldest first
