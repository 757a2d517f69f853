@wire
Feature: Making a group
  Volumes that belong together are a group: they are kept and deleted together, and
  one of them alone neither goes nor belongs elsewhere. Who joins and who leaves is
  decided at once: all of it, or nothing.

  Rule: A group is on one backend, and empty at first

    Scenario: It is made
      When a group "app" is made
      Then the group "app" is available
      And the group "app" has no members

    Scenario: A volume is created in it
      Given a group "app"
      When a volume "db" is created in the group "app"
      Then "db" is available
      And "db" is a member of "app"
      And the group "app" has the members "db"

    Scenario: A volume of another backend
      Given a group "app"
      And an available volume "db" on backend "faulty"
      When "db" is added to the group "app"
      Then the request is refused as invalid
      And what is wrong with "add_volumes" is said
      And nothing is recorded

  Rule: All of a change is made, or none of it

    @lvm
    Scenario: Two volumes join, one of them in use
      Given a group "app"
      And an available volume "db"
      And an available volume "web"
      And "web-1" has attached "db"
      When "db, web" are added to the group "app"
      Then the group "app" has the members "db, web"

    Scenario: One of them is another group's
      Given a group "app" of "db"
      And a group "other"
      And an available volume "web"
      When "web, db" are added to the group "other"
      Then it is refused because of "app"
      And nothing is recorded
      And "web" is a member of no group

    Scenario: One of them never was
      Given a group "app"
      And an available volume "web"
      When "web, nothing" are added to the group "app"
      Then the request is refused as not-found
      And nothing is recorded
      And the group "app" is available

    Scenario: One leaves that was no member
      Given a group "app" of "db"
      And an available volume "web"
      When "web" is taken out of the group "app"
      Then it is refused because of "web"
      And nothing is recorded

  Rule: A member neither goes alone nor belongs elsewhere

    Scenario: It is deleted
      Given a group "app" of "db"
      When "db" is deleted
      Then it is refused because of "app"
      And nothing is recorded

    Scenario: It is unmanaged
      Given a group "app" of "db"
      When "db" is unmanaged
      Then it is refused because of "app"
      And nothing is recorded

    Scenario: It has left
      Given a group "app" of "db, web"
      And "db" was taken out of the group "app"
      When "db" is deleted
      Then "db" is deleted
      And the group "app" has the members "web"

  Rule: A group that could not be consistent is refused where that is asked for

    @lvm
    Scenario: The backend can
      When a consistent group "app" is made
      Then the group "app" is available

    Scenario: The backend cannot
      When a consistent group "app" is made on backend "spare"
      Then the request is refused with "cannot take snapshots of a group at one moment"
      And nothing is recorded

    @lvm
    Scenario: In the words of consistency groups
      Given a consistency group "app" of "db, web"
      When a group snapshot "night" of "app" is taken
      Then the group snapshot "night" is available
      And the group snapshot "night" is of one moment
