@wire
Feature: Rebuilding a read model
  Lists are answered from copies of the log that can be thrown away. An operator
  has one made anew while everybody reads the old one.

  Rule: It comes to the same

    Scenario: The list of volumes is made anew
      Given available volumes "db, web" in the project "shop"
      And the read model "volumes" was rebuilt
      When the volumes of the project "shop" are listed
      Then "db, web" are found

  Rule: An operator sees how each read model does

    Scenario: All of them follow the log
      Given an available volume "db"
      When the read models are listed
      Then "attachments, backends, exports, group_snapshots, groups, in_flight, snapshots, volumes" follow the log, and none failed

  Rule: Only what is there can be made anew

    Scenario: A read model that nobody knows
      When the read model "unknown" is rebuilt
      Then the request is refused as not-found with "attachments, backends, exports, group_snapshots, groups, in_flight, snapshots, volumes"
