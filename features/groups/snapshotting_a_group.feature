@wire
Feature: Snapshotting a group
  What all members hold is kept with one request. Of a consistent group it is what
  they held at one moment, and what is true is said: never more.

  Rule: Its result says which moment it is of

    @lvm
    Scenario: A consistent group
      Given a consistent group "app" of "db, web"
      When a group snapshot "night" of "app" is taken
      Then the group snapshot "night" is available
      And the group snapshot "night" is of one moment

    @lvm
    Scenario: Another group
      Given a group "app" of "db, web"
      When a group snapshot "night" of "app" is taken
      Then the group snapshot "night" is available
      And the group snapshot "night" is of a moment for each volume

    Scenario: A group without members
      Given a group "app"
      When a group snapshot "night" of "app" is taken
      Then the request is refused with "not with any member"
      And nothing is recorded

  Rule: All members are kept, or none

    Scenario: The storage fails
      Given a group "app" of "db, web" on backend "faulty"
      And backend "faulty" fails to take group snapshots
      When a group snapshot "night" of "app" is taken
      Then the group snapshot "night" is error
      And all snapshots of "night" are error

    Scenario: One moment cannot be had
      Given a consistent group "app" of "db, web"
      And a process writes to "web"
      When a group snapshot "night" of "app" is taken
      Then the group snapshot "night" is error because "is in use by process"
      And all snapshots of "night" are error

  Rule: They go together

    Scenario: All of them
      Given a group "app" of "db, web"
      And a group snapshot "night" of "app"
      When the group snapshot "night" is deleted
      Then the group snapshot "night" is deleted
      And all snapshots of "night" are deleted

    Scenario: One of them
      Given a group "app" of "db, web"
      And a group snapshot "night" of "app"
      When one of the snapshots of "night" is deleted
      Then it is refused because of "night"
      And nothing is recorded

  Rule: A group is made of it member by member

    @lvm
    Scenario: Each has what its own held
      Given an available volume "db" that holds "orders"
      And an available volume "web" that holds "pages"
      And a consistent group "app" of "web, db"
      And a group snapshot "night" of "app"
      And "db" was overwritten with "bills"
      When a group "copy" is made of the group snapshot "night"
      Then the group "copy" is available
      And the member "db" of the group "copy" holds "orders"
      And the member "web" of the group "copy" holds "pages"

    @lvm
    Scenario: Of the group itself
      Given an available volume "db" that holds "orders"
      And an available volume "web" that holds "pages"
      And a group "app" of "web, db"
      When a group "copy" is made of the group "app"
      Then the group "copy" is available
      And the member "db" of the group "copy" holds "orders"
      And the member "web" of the group "copy" holds "pages"

    Scenario: One of them cannot be made
      Given a group "app" of "db, web" on backend "faulty"
      And backend "faulty" fails to make volumes
      When a group "copy" is made of the group "app"
      Then the group "copy" is error because "the storage does not answer; see its cabling"
      And all of "db, web" are available
