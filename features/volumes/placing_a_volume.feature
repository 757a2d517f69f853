@wire
Feature: Placing a volume
  Who names no backend gets the one with the most room. Room is counted from the
  log, so it is right after every failure, every race and every restart.

  Rule: A volume without a named backend goes where there is most room

    Scenario: The roomiest backend
      Given backend "small" has room for 10 GiB
      When a volume "db" of 1 GiB is created anywhere
      Then "db" is of the backend "roomy"

    Scenario: The roomiest backend takes no new volumes
      Given backend "roomy" was disabled
      When a volume "db" of 1 GiB is created anywhere
      Then "db" is of the backend "spare"

  Rule: A volume of a type goes where the type finds what it asks

    Scenario: The roomiest backend is not what the type asks
      When a volume "db" of type "modest" is created
      Then "db" is of the backend "spare"

    Scenario: No backend is
      When a volume "db" of type "guaranteed" is created
      Then the request is refused as no-capacity with "roomy: lacks QoS_support <is> True"
      And it is said that "small" was passed over because it "lacks QoS_support <is> True (it has False)"
      And nothing is recorded

    Scenario: The backend that was named is not
      When a volume "db" of type "archive" is created on backend "roomy"
      Then the request is refused as no-capacity
      And it is said that "roomy" was passed over because it "lacks volume_backend_name small (it has roomy)"
      And nothing is recorded

  Rule: What one backend cannot make, another one is asked for

    Scenario: The roomiest backend fails
      Given backend "roomy" fails to make volumes
      When a volume "db" of 1 GiB is created anywhere
      Then "db" is available
      And "db" is of the backend "spare"
      And it is told why "db" is so
        | what                        |
        | volume.created              |
        | > volume.creation_given_up  |
        | >> volume.rescheduled        |
        | >>> volume.creation_finished |

    Scenario: A caller waits for it
      Given backend "roomy" fails to make volumes
      And the caller waits for what comes of it
      When a volume "db" of 1 GiB is created anywhere
      Then the answer shows "db" as available
      And "db" is of the backend "spare"

    Scenario: What was given up takes no room
      Given backend "roomy" fails to make volumes
      When a volume "db" of 1 GiB is created anywhere
      Then "db" is available
      When backend "roomy" is measured
      Then backend "roomy" counts what its volumes take
      When backend "spare" is measured
      Then backend "spare" counts what its volumes take

    Scenario: Every backend that is fit for it fails
      Given backend "spare" fails to make volumes
      And backend "small" fails to make volumes
      When a volume "db" of type "modest" is created
      Then "db" is error because "the storage does not answer; see its cabling"
      And "db" is of the backend "small"
      And the log of "db" ends with "volume.creation_failed"

    Scenario: The backend was named
      Given backend "roomy" fails to make volumes
      When a volume "db" of 1 GiB is created on backend "roomy"
      Then "db" is error because "the storage does not answer; see its cabling"
      And "db" is of the backend "roomy"

  Rule: A named backend is taken at its word

    Scenario: There is more room elsewhere
      Given backend "small" has room for 10 GiB
      When a volume "db" of 1 GiB is created on backend "small"
      Then "db" is of the backend "small"

    Scenario: A backend that never was
      When a volume "db" of 1 GiB is created on backend "nowhere"
      Then the request is refused as not-found with "nowhere"
      And nothing is recorded

  Rule: Where there is no room, it is said why each backend was passed over

    Scenario: A backend that is too small
      Given backend "small" has room for 10 GiB
      When a volume "db" of 11 GiB is created on backend "small"
      Then the request is refused as no-capacity with "small: has room for 10 GiB"
      And nothing is recorded

    Scenario: Several backends, each for its own reason
      Given backend "small" has room for 10 GiB
      And backends "roomy" and "spare" were disabled
      When a volume "db" of 65536 GiB is created anywhere
      Then the request is refused as no-capacity with "small: has room for 10 GiB"
      And it is said that "roomy" was passed over because it "is disabled: being repaired"

  Rule: Room is given back when it is no longer needed

    Scenario: A full backend
      Given backend "small" has room for 10 GiB
      And an available volume "big" of 10 GiB on backend "small"
      When a volume "db" of 1 GiB is created on backend "small"
      Then the request is refused as no-capacity with "small: has room for 0 GiB"

    Scenario: A volume was deleted
      Given backend "small" has room for 10 GiB
      And an available volume "big" of 10 GiB on backend "small"
      When "big" is deleted
      Then "big" is deleted
      And backend "small" has room for 10 GiB

    Scenario: A volume could not be made
      Given backend "small" has room for 10 GiB
      And backend "small" fails to make volumes
      When a volume "big" of 10 GiB is created on backend "small"
      Then "big" is error
      And backend "small" has room for 10 GiB

  Rule: The last room is given away once

    Scenario: Two ask for it in the same moment
      Given backend "small" has room for 10 GiB
      When two volumes of 6 GiB are created on backend "small" at once
      Then one of them is made and the other is refused as no-capacity
