@wire
Feature: Extending a volume
  A volume can only grow, and it may be in use while it does. When it could not
  grow it says why, keeps its size, and can be tried again.

  Rule: A volume grows at rest and in use

    @lvm
    Scenario: At rest
      Given an available volume "db" of 1 GiB
      When "db" is extended to 3 GiB
      Then "db" is available and has 3 GiB
      And "db" has a storage of 3 GiB

    @lvm
    Scenario: In use
      Given an available volume "db" of 1 GiB
      And "web-1" has attached "db"
      When "db" is extended to 2 GiB
      Then "db" is in-use and has 2 GiB

  Rule: Until it has grown it has its old size

    Scenario: Its holder lets go meanwhile
      Given "web-1" was attached to a volume "db" that is being extended to 2 GiB
      And "db" was detached
      When backend "faulty" behaves again
      Then "db" is available and has 2 GiB

    Scenario: The storage takes its time
      Given an available volume "db" of 1 GiB on backend "faulty"
      When "db" begins to be extended to 2 GiB and backend "faulty" takes its time
      Then "db" is extending and has 1 GiB

  Rule: A volume never shrinks

    Scenario Outline: A size that is not more
      Given an available volume "db" of 2 GiB
      When "db" is extended to <size> GiB
      Then the request is refused as invalid with "is not more than the 2 GiB it has"
      And nothing is recorded

      Examples:
        | size |
        | 1    |
        | 2    |

    Scenario Outline: A size that makes no sense
      Given an available volume "db"
      When "db" is extended to <size> GiB
      Then the request is refused as invalid
      And nothing is recorded

      Examples:
        | size  |
        | 0     |
        | -1    |
        | 2.5   |
        | 3.0   |
        | "3"   |
        | 65537 |
        | null  |

  Rule: A volume that could not grow is as large as it was, and may try again

    Scenario: The storage fails
      Given an available volume "db" of 1 GiB on backend "faulty"
      And backend "faulty" fails to grow volumes
      When "db" is extended to 2 GiB
      Then "db" is error_extending because "the storage does not answer; see its cabling"
      And "db" is error_extending and has 1 GiB

    Scenario: The storage works again
      Given a volume "db" of 1 GiB that could not be extended
      When "db" is extended to 2 GiB
      Then "db" is available and has 2 GiB
      And "db" shows no error

    Scenario: The volume was in use, and is so again
      Given a volume "db" of 1 GiB that "web-1" holds and that could not be extended
      When "db" is extended to 2 GiB
      Then "db" is in-use and has 2 GiB

  Rule: What could not grow is in nobody's way

    Scenario: Its holder may let go of it
      Given a volume "db" of 1 GiB that "web-1" holds and that could not be extended
      When "web-1" lets go of "db"
      Then "db" has 0 attachments
      And "db" is error_extending

    Scenario: The room it did not get is given back
      Given backend "small" has room for 10 GiB
      And an available volume "db" of 1 GiB on backend "small"
      And "db" could not be extended to 8 GiB
      When backend "small" is measured
      Then backend "small" has room for 9 GiB

  Rule: A volume grows only where there is room

    Scenario: As much as there is
      Given backend "small" has room for 10 GiB
      And an available volume "db" of 5 GiB on backend "small"
      When "db" is extended to 10 GiB
      Then "db" is available and has 10 GiB

    Scenario: More than there is
      Given backend "small" has room for 10 GiB
      And an available volume "db" of 5 GiB on backend "small"
      When "db" is extended to 11 GiB
      Then the request is refused as no-capacity with "small: has room for 5 GiB"
      And nothing is recorded

  Rule: Only a volume at rest or in use is extended

    Scenario Outline: It is not at rest
      Given a volume "db" that is <status>
      When "db" is extended to 3 GiB
      Then the request is refused with "cannot extend while <status>"
      And nothing is recorded

      Examples:
        | status         |
        | creating       |
        | reserved       |
        | attaching      |
        | detaching      |
        | extending      |
        | deleting       |
        | deleted        |
        | error          |
        | error_deleting |
