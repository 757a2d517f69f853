@wire
Feature: Creating a volume
  A caller is answered as soon as the wish is durable; the storage follows. What
  comes of it stands in the volume, in words an operator can act on.

  Rule: A volume is creating until its storage is there

    @lvm
    Scenario: The storage is made
      When a volume "db" of 2 GiB is created
      Then "db" is available
      And "db" has a storage of 2 GiB
      And the log of "db" ends with "volume.creation_finished"

    Scenario: The answer does not wait for the storage
      Given backend "faulty" does not answer when asked to make a volume
      When a volume "db" of 1 GiB is created on backend "faulty"
      Then the request succeeds
      And "db" is creating

    Scenario: A caller who waits is told what came of it
      Given the caller waits for what comes of it
      When a volume "db" of 1 GiB is created
      Then the answer shows "db" as available
      And the answer tells where in the log it stands

  Rule: A storage that cannot be made is an error that says why

    Scenario: The storage fails
      Given backend "faulty" fails to make volumes
      When a volume "db" of 1 GiB is created on backend "faulty"
      Then "db" is error because "the storage does not answer; see its cabling"
      And the log of "db" ends with "volume.creation_failed"

    Scenario: What could not be made takes no room
      Given a volume "db" that could not be made
      When backend "faulty" is measured
      Then backend "faulty" counts what its volumes take

  Rule: A type says what its volumes are like

    Scenario: A type whose volumes are shared
      When a volume "scratch" of type "shared" is created
      Then "scratch" is available
      And "scratch" can be attached by several

    Scenario: A type that has its own backend
      Given backend "small" has room for 10 GiB
      When a volume "old" of type "archive" is created
      Then "old" is of the backend "small"

    Scenario: A type that nobody has defined
      When a volume "db" of type "golden" is created
      Then the request is refused as not-found with "golden"
      And nothing is recorded

  Rule: An id is used once

    Scenario: The id of another volume
      Given an available volume "db"
      When a volume is created under the id of "db"
      Then the request is refused as conflict
      And nothing is recorded

    Scenario: The id of a deleted volume
      Given a deleted volume "db"
      When a volume is created under the id of "db"
      Then the request is refused as conflict
      And nothing is recorded

  Rule: A size is a whole number of GiB, from 1 to 65536

    Scenario Outline: A size that can be had
      When a volume of <size> GiB is created
      Then the request succeeds
      And the volume is to have <size> GiB

      Examples:
        | size  |
        | 1     |
        | 65536 |

    Scenario Outline: A size that makes no sense
      When a volume of <size> GiB is created
      Then the request is refused as invalid
      And nothing is recorded

      Examples:
        | size  |
        | 0     |
        | -1    |
        | 1.5   |
        | 2.0   |
        | 1e3   |
        | "abc" |
        | "2"   |
        | 65537 |
        | true  |
        | null  |
        | [1]   |

    Scenario: No size at all
      When a volume is created without a size
      Then the request is refused as invalid
      And nothing is recorded

  Rule: What is said of a volume is bounded text

    Scenario Outline: Text that just fits
      When a volume is created whose <what> is <value>
      Then the request succeeds
      And the volume is shown with the <what> <value>

      Examples:
        | what        | value           |
        | name        | ""              |
        | name        | 255 times "x"   |
        | name        | "größer ≥ 数据"   |
        | description | 1024 times "x"  |
        | project     | 255 times "x"   |
        | label       | ""              |
        | label       | 255 times "x"   |
        | label-name  | 255 times "x"   |

    Scenario Outline: Text that is refused
      When a volume is created whose <what> is <value>
      Then the request is refused as invalid
      And nothing is recorded

      Examples:
        | what        | value           |
        | name        | 256 times "x"   |
        | name        | "a\tb"          |
        | name        | "a\u0000b"      |
        | name        | "a\u007fb"      |
        | name        | 5               |
        | name        | null            |
        | description | 1025 times "x"  |
        | description | "a\u001bb"      |
        | project     | 256 times "x"   |
        | label       | 256 times "x"   |
        | label       | "a\u0007b"      |
        | label       | 5               |
        | label-name  | 256 times "x"   |
        | label-name  | ""              |
        | labels      | "gold"          |
        | sharing     | "yes"           |
        | sharing     | 1               |
        | id          | "5"             |
        | id          | 5               |
        | colour      | "blue"          |

  Rule: A source is one thing that exists

    Scenario: A snapshot that never was
      When a volume is created from a snapshot that never was
      Then the request is refused as not-found
      And nothing is recorded

    Scenario: Two sources
      When a volume is created from two sources
      Then the request is refused as invalid
      And nothing is recorded
