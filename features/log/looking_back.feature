@wire
Feature: Looking back
  What a volume was like when something went wrong is asked afterwards, and
  answered from the log alone.

  Rule: A volume is shown as it was

    Scenario: After an event
      Given an available volume "db" of 1 GiB
      And "db" was extended to 2 GiB
      When "db" is looked at as it was after "volume.creation_finished"
      Then it was available and had 1 GiB

    Scenario: At a time
      Given an available volume "db" of 1 GiB
      And "db" was extended to 2 GiB
      When "db" is looked at as it was when "volume.extension_started" happened
      Then it was extending and had 1 GiB

    Scenario: Before it was deleted
      Given a deleted volume "db"
      When "db" is looked at as it was after "volume.creation_finished"
      Then it was available and had 1 GiB

  Rule: Before it was, it was not

    Scenario: It had not been asked for
      Given an available volume "db"
      When "db" is looked at as it was before it was
      Then the request is refused as not-found

  Rule: One moment is meant

    Scenario: Two are given
      Given an available volume "db"
      When "db" is looked at as it was at two moments
      Then the request is refused as invalid

    Scenario: None is given
      Given an available volume "db"
      When "db" is looked at as it was at no moment
      Then the request is refused as invalid

    Scenario Outline: A time that is none
      Given an available volume "db"
      When "db" is looked at as it was at "<time>"
      Then the request is refused as invalid

      Examples:
        | time                |
        | yesterday           |
        | 2026-02-30T00:00:00Z |
        | 2026-02-03T00:00:00 |
