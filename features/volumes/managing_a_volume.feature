@wire
Feature: Managing a volume
  An operator comes with storage that has something on it. It becomes a volume as
  it is, or stays as it was; and what is a volume already is not taken from it.

  Rule: What is taken over keeps its data

    Scenario: A storage of whole GiB
      Given backend "files" has a storage "disk-1" of 2 GiB
      When "disk-1" of backend "files" is managed as "db"
      Then "db" is available and has 2 GiB
      And "db" has what was on "disk-1"

    Scenario: A storage that has some more
      Given backend "files" has a storage "disk-1" of 1.5 GiB
      When "disk-1" of backend "files" is managed as "db"
      Then "db" is available and has 2 GiB
      And "db" has a storage of 2 GiB
      And "db" has what was on "disk-1"

    Scenario: It is used like others
      Given "disk-1" of backend "files" was taken over as "db"
      When "web-1" is attached to "db"
      Then "db" is in-use

    Scenario: Its log says where it came from
      Given backend "files" has a storage "disk-1" of 2 GiB
      When "disk-1" of backend "files" is managed as "db"
      Then the log of "db" ends with "volume.managing_finished"
      And the log of "db" names "disk-1"

  Rule: A volume takes its room once its size is known

    Scenario: It is taken over
      Given backend "small" has room for 10 GiB
      And backend "small" has a storage "disk-1" of 3 GiB
      When "disk-1" of backend "small" is managed as "db"
      Then "db" is available and has 3 GiB
      And backend "small" has room for 7 GiB

    Scenario: It could not be
      Given backend "small" has room for 10 GiB
      When "disk-1" of backend "small" is managed as "db"
      Then "db" is error_managing because "there is no plain file"
      And backend "small" has room for 10 GiB

  Rule: What cannot be taken over stays as it was

    Scenario: Something uses it
      Given backend "files" has a storage "disk-1" of 2 GiB
      And a process has "disk-1" of backend "files" in use
      When "disk-1" of backend "files" is managed as "db"
      Then "db" is error_managing because "is in use by process"
      And backend "files" still has "disk-1"

    Scenario: It is a volume already
      Given an available volume "web"
      When the storage of "web" is managed as "db"
      Then "db" is error_managing because "already managed"
      And "db" is error_managing because "delete this volume, which touches no storage"
      And "web" is available

    Scenario: Another volume was faster
      Given "disk-1" of backend "files" was taken over as "web"
      When "disk-1" of backend "files" is managed as "db"
      Then "db" is error_managing because "there is no plain file"

    Scenario: The storage fails
      Given backend "faulty" has a storage "disk-1" of 1 GiB
      And backend "faulty" fails to adopt volumes
      When "disk-1" of backend "faulty" is managed as "db"
      Then "db" is error_managing because "the storage does not answer; see its cabling"
      And backend "faulty" still has "disk-1"

  Rule: A volume that could not be taken over can be asked for again under its id

    Scenario: What used it has ended
      Given "db" could not be taken over from "disk-1" of backend "files" while it was in use
      When "disk-1" of backend "files" is managed under the id of "db"
      Then "db" is available and has 1 GiB
      And "db" shows no error

    Scenario: It was taken over after all, when nobody waited any more
      Given a service that soon loses its patience
      And "db" was given up while it was being taken over from "disk-1"
      And backend "faulty" behaved again
      When the storage that "db" had is managed under its id
      Then "db" is available and has 1 GiB
      And "db" has its data

    Scenario: It may have been taken over, and another backend is asked
      Given a service that soon loses its patience
      And "db" was given up while it was being taken over from "disk-1"
      And backend "files" has a storage "disk-1" of 1 GiB
      When "disk-1" of backend "files" is managed under the id of "db"
      Then the request is refused with "not on backend faulty, which may have taken"

    Scenario: The id is a volume's that is there
      Given an available volume "web"
      And backend "files" has a storage "disk-1" of 1 GiB
      When "disk-1" of backend "files" is managed under the id of "web"
      Then the request is refused as conflict
      And nothing is recorded

  Rule: Deleting what could not be taken over destroys nothing

    Scenario: It is deleted
      Given "db" could not be taken over from "disk-1" of backend "files" while it was in use
      When "db" is deleted
      Then "db" is deleted
      And backend "files" still has "disk-1"

    Scenario: It is deleted, and was taken over after all
      Given a service that soon loses its patience
      And "db" was given up while it was being taken over from "disk-1"
      And backend "faulty" behaved again
      When "db" is deleted
      Then "db" is deleted
      And what was on "disk-1" is to be managed again

  Rule: A request that makes no sense is refused before anything happens

    Scenario Outline: A name that reaches elsewhere
      When <name> of backend "files" is managed
      Then the request is refused as invalid
      And what is wrong with "reference" is said
      And nothing is recorded

      Examples:
        | name           |
        | ""             |
        | ".."           |
        | "../db"        |
        | "-f"           |
        | ".hidden"      |
        | "a b"          |
        | "vg/db"        |
        | 130 times "a"  |
        | 5              |

    Scenario: A backend that never was
      When "disk-1" of backend "nowhere" is managed as "db"
      Then the request is refused as not-found
      And nothing is recorded

    Scenario: A backend that takes nothing new
      Given backend "spare" was disabled
      When "disk-1" of backend "spare" is managed as "db"
      Then the request is refused as no-capacity with "spare: is disabled"
      And nothing is recorded

  Rule: What could be managed is listed by its name, a page at a time

    Scenario: What is there
      Given backend "files" has a storage "disk-1" of 1.5 GiB
      And an available volume "web"
      When it is listed what could be managed on backend "files"
      Then "disk-1" can be managed as 2 GiB
      And the storage of "web" cannot, because it is "already managed"

    Scenario: In pages
      Given backend "files" has a storage "disk-1" of 1 GiB
      And backend "files" has a storage "disk-2" of 1 GiB
      When it is listed what could be managed on backend "files", 1 at a time
      Then "disk-1" can be managed as 1 GiB
      And "disk-2" can be managed as 1 GiB

    Scenario: It cannot be told
      Given backend "faulty" fails to list volumes
      When it is listed what could be managed on backend "faulty"
      Then the request is refused as unavailable with "the storage does not answer; see its cabling"

    Scenario: Of a backend that never was
      When it is listed what could be managed on backend "nowhere"
      Then the request is refused as not-found
