@wire
Feature: Disabling a backend
  An operator takes a backend out of service for new volumes, and says why. Those
  it has are served as ever: a disabled backend is not a broken one.

  Rule: A disabled backend takes no new volume

    Scenario: A volume is asked of it
      Given backend "spare" was disabled
      When a volume "db" of 1 GiB is created on backend "spare"
      Then the request is refused as no-capacity with "spare: is disabled: being repaired"
      And nothing is recorded

    Scenario: It says why
      When backend "spare" is disabled because it is "full of dust"
      Then backend "spare" is disabled because it is "full of dust"
      And the log of backend "spare" ends with "backend.disabled"

  Rule: A disabled backend serves the volumes it has

    Scenario: One is extended
      Given an available volume "db" of 1 GiB on backend "spare"
      And backend "spare" was disabled
      When "db" is extended to 2 GiB
      Then "db" is available and has 2 GiB

    Scenario: One is attached
      Given an available volume "db" on backend "spare"
      And backend "spare" was disabled
      When "web-1" reserves "db" from "node-1" at once
      Then "db" is attaching

    Scenario: One is deleted
      Given an available volume "db" on backend "spare"
      And backend "spare" was disabled
      When "db" is deleted
      Then "db" is deleted

  Rule: An enabled backend takes new volumes again

    Scenario: It is enabled
      Given backend "spare" was disabled
      When backend "spare" is enabled
      Then backend "spare" is enabled

    Scenario: A volume is asked of it again
      Given backend "spare" was disabled
      And backend "spare" was enabled
      When a volume "db" of 1 GiB is created on backend "spare"
      Then "db" is available

  Rule: Saying so again adds nothing

    Scenario: It is enabled already
      When backend "spare" is enabled
      Then the request succeeds
      And nothing is recorded

    Scenario: It is disabled for the same reason
      Given backend "spare" was disabled
      When backend "spare" is disabled because it is "being repaired"
      Then the request succeeds
      And nothing is recorded

    Scenario: It is disabled for another reason
      Given backend "spare" was disabled
      When backend "spare" is disabled because it is "being sold"
      Then backend "spare" is disabled because it is "being sold"

  Rule: Who disables a backend says which and why

    Scenario: Without a reason
      When backend "spare" is disabled for no reason
      Then the request is refused as invalid
      And nothing is recorded

    Scenario: With an empty one
      When backend "spare" is disabled because it is ""
      Then the request is refused as invalid
      And nothing is recorded

    Scenario: One that never was
      When backend "nowhere" is enabled
      Then the request is refused as not-found with "nowhere"
      And nothing is recorded

  Rule: It is seen which are disabled

    Scenario: Those are asked for
      Given backend "spare" was disabled
      When the backends are listed whose status is "disabled"
      Then they are "spare"

    Scenario: By a status that no backend ever has
      When the backends are listed whose status is "up"
      Then the request is refused as invalid with "enabled, disabled"
