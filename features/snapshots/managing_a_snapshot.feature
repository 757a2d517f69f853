@wire
Feature: Managing a snapshot
  An operator comes with storage that is a snapshot of a volume already. It becomes
  one as it is, and what is forgotten leaves its storage behind.

  Rule: What is taken over keeps its data

    Scenario: It is a snapshot of the volume
      Given an available volume "db" that holds "bills"
      And a storage "old" that is a snapshot of "db" and holds "orders"
      And "old" was taken over as the snapshot "monday" of "db"
      When "copy" is made of the snapshot "monday"
      Then "copy" is available
      And "copy" holds "orders"

    Scenario: It is deleted like others
      Given an available volume "db"
      And a storage "old" that is a snapshot of "db" and holds "orders"
      And "old" was taken over as the snapshot "monday" of "db"
      When the snapshot "monday" is deleted
      Then the snapshot "monday" is deleted

  Rule: What cannot be taken over says why, and its volume is as before

    Scenario: There is no such storage
      Given an available volume "db"
      When "old" is managed as the snapshot "monday" of "db"
      Then the snapshot "monday" is error because "there is no plain file"
      And "db" is available

    Scenario: It is a snapshot of another volume
      Given an available volume "db"
      And an available volume "web"
      And a storage "old" that is a snapshot of "web" and holds "orders"
      When "old" is managed as the snapshot "monday" of "db"
      Then the snapshot "monday" is error because "there is no plain file"

    Scenario: It has lost its end
      Given an available volume "db"
      And a storage "old" that is the beginning of a snapshot of "db"
      When "old" is managed as the snapshot "monday" of "db"
      Then the snapshot "monday" is error because "no whole GiB"

  Rule: What is unmanaged leaves its storage, with all that is on it

    Scenario: It is taken over again
      Given an available volume "db" that holds "orders"
      And a snapshot "monday" of "db"
      And "db" was overwritten with "bills"
      And the snapshot "monday" was unmanaged
      And what "monday" left was taken over as the snapshot "tuesday" of "db"
      When "db" is reverted to "tuesday"
      Then "db" is available
      And "db" holds "orders"

    Scenario: A volume is being made of it
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And "copy" is being made of the snapshot "monday"
      When the snapshot "monday" is unmanaged
      Then it is refused because of "copy"
      And nothing is recorded
