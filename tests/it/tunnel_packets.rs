//! MQTT of any version and size goes through a domain's channel as it is.
