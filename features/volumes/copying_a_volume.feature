@wire
Feature: Copying a volume
  A volume is made of what a snapshot or another volume holds, and lives apart from
  it. What it is made of stays as it is meanwhile, and says who needs it.

  Rule: A copy has its source's bytes

    @lvm
    Scenario: Of a snapshot
      Given an available volume "db" that holds "orders"
      And a snapshot "monday" of "db"
      When "copy" is made of the snapshot "monday"
      Then "copy" is available and has 1 GiB
      And "copy" holds "orders"
      And "copy" says that it was made of the snapshot "monday"

    @lvm
    Scenario: Of a volume
      Given an available volume "db" that holds "orders"
      When "copy" is made of the volume "db"
      Then "copy" is available and has 1 GiB
      And "copy" holds "orders"

  Rule: A copy and its source are written apart

    @lvm
    Scenario: Both are overwritten
      Given an available volume "db" that holds "orders"
      And "copy" was made of the volume "db"
      And "copy" was overwritten with "bills"
      When "db" is overwritten with "nothing"
      Then "copy" holds "bills"
      And "db" holds "nothing"

    @lvm
    Scenario: The source is deleted
      Given an available volume "db" that holds "orders"
      And "copy" was made of the volume "db"
      When "db" is deleted
      Then "db" is deleted
      And "copy" holds "orders"

  Rule: A larger copy reads as zeros behind its source's end

    @lvm
    Scenario: Larger, and of a snapshot
      Given an available volume "db" that holds "orders"
      And a snapshot "monday" of "db"
      When "copy" of 2 GiB is made of the snapshot "monday"
      Then "copy" is available and has 2 GiB
      And "copy" of 2 GiB holds "orders", and zeros behind it

    @lvm
    Scenario: Larger, and of a volume
      Given an available volume "db" that holds "orders"
      When "copy" of 2 GiB is made of the volume "db"
      Then "copy" is available and has 2 GiB
      And "copy" of 2 GiB holds "orders", and zeros behind it

    Scenario: A smaller one makes no sense
      Given an available volume "db" of 2 GiB
      When "copy" of 1 GiB is made of the volume "db"
      Then the request is refused as invalid
      And what is wrong with "size_gib" is said
      And nothing is recorded

  Rule: What a copy is made of stays as it is, and says who needs it

    Scenario: The volume is deleted
      Given an available volume "db" on backend "faulty"
      And "copy" is being made of the volume "db"
      When "db" is deleted
      Then it is refused because of "copy"
      And nothing is recorded

    Scenario: The volume is extended
      Given an available volume "db" on backend "faulty"
      And "copy" is being made of the volume "db"
      When "db" is extended to 2 GiB
      Then it is refused because of "copy"
      And nothing is recorded

    Scenario: The copy is made
      Given an available volume "db"
      And "copy" was made of the volume "db"
      When "db" is extended to 2 GiB
      Then "db" is available and has 2 GiB

  Rule: A copy has what its source has, unless something else is said

    Scenario: Its labels and what starts from it
      Given an available volume "db"
      And "db" was labelled "tier" as "gold"
      And "db" was made bootable
      And a snapshot "monday" of "db"
      When "copy" is made of the snapshot "monday"
      Then "copy" has only the label "tier" as "gold"
      And "copy" can be started from

    Scenario: Whether several may hold it
      Given an available multiattach volume "db"
      When "copy" is made of the volume "db"
      Then "copy" can be attached by several

    Scenario: Its backend, always
      Given an available volume "db"
      And a snapshot "monday" of "db"
      When "copy" is made of the snapshot "monday" on backend "faulty"
      Then the request is refused as invalid
      And what is wrong with "backend" is said

  Rule: What cannot be copied now says why

    Scenario: A snapshot that is gone
      Given an available volume "db"
      And a snapshot "monday" of "db"
      And the snapshot "monday" was deleted
      When "copy" is made of the snapshot "monday"
      Then the request is refused with "while deleted"
      And it is refused because of "monday"
      And nothing is recorded

    Scenario: A snapshot that is being taken
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db" is being taken
      When "copy" is made of the snapshot "monday"
      Then the request is refused with "while creating"
      And it is refused because of "monday"

    Scenario: The storage fails
      Given an available volume "db" on backend "faulty"
      And backend "faulty" fails to make volumes
      When "copy" is made of the volume "db"
      Then "copy" is error because "the storage does not answer; see its cabling"
      And "db" is available

  Rule: A crash in the middle does not matter

    Scenario: Everything is killed while it is being made
      Given a service that can be killed
      And an available volume "db" on backend "faulty" that holds "orders"
      And "copy" is being made of the volume "db"
      When the service is killed, backend "faulty" mended, and started again
      Then "copy" is available
      And "copy" holds "orders"
