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
      Then the request is refused as not-found with "was not there yet"

  Rule: What has not happened yet is not told

    Scenario Outline: Beyond the end of the log
      Given an available volume "db"
      When <what> is asked for as of an event that is not there yet
      Then the request is refused as invalid with "the log's end"

      Examples:
        | what                  |
        | a volume              |
        | a list                |
        | what changed          |
        | what the log comes to |

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

  Rule: A list is shown as it was

    Scenario: What was there is there, as it was
      Given an available volume "db" of 1 GiB
      And "db" was extended to 2 GiB
      And a deleted volume "scratch"
      When volumes are listed as they were after "volume.created" of "scratch"
      Then "db" is listed as available with 2 GiB
      And "scratch" is listed as creating with 1 GiB

    Scenario: A list at a time
      Given an available volume "db" of 1 GiB
      And "db" was extended to 2 GiB
      When volumes are listed as they were when "volume.extension_started" of "db" happened
      Then "db" is listed as extending with 1 GiB

    Scenario: What was not there yet is not there
      Given an available volume "db"
      And an available volume "later"
      When volumes are listed as they were after "volume.creation_finished" of "db"
      Then "later" is not listed

    Scenario: Only what was so
      Given an available volume "db"
      And a deleted volume "scratch"
      When volumes that were deleting are listed as they were after "volume.deletion_started" of "scratch"
      Then "scratch" is listed as deleting with 1 GiB
      And "db" is not listed

    Scenario: What a list cannot be asked for
      When volumes of an instance are listed as they were
      Then the request is refused as invalid

  Rule: What changed between two moments is told

    Scenario: Changed, made and deleted
      Given an available volume "old"
      And an available volume "db" of 1 GiB
      And "db" was extended to 2 GiB
      And "old" was deleted
      And an available volume "new"
      When it is asked what changed since "volume.creation_finished" of "db"
      Then "db" is told to have changed
        | field    | before | after |
        | size_gib | 1      | 2     |
      And "old" is told to have been deleted
        | field  | before    | after   |
        | status | available | deleted |
      And "new" is told to have been created
        | field  | before | after     |
        | status |        | available |

    Scenario: Nothing has
      Given an available volume "db"
      When it is asked what changed between one moment and the same
      Then nothing is told to have changed

    Scenario: Backwards
      Given an available volume "db"
      When it is asked what changed between now and earlier
      Then the request is refused as invalid
