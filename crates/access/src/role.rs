//! Roles of a user, as a set that copies for free.

/// A role. `Vip` includes `Premium` includes `Standard`; the others include none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Every account.
    Standard,
    /// Paying account.
    Premium,
    /// Best account.
    Vip,
    /// Administrator. Counts only on a token of the admin audience.
    Admin,
    /// Machine of the mesh. Counts only on an internal token.
    Internal,
}

impl Role {
    /// All roles, least first.
    pub const ALL: [Self; 5] = [Self::Standard, Self::Premium, Self::Vip, Self::Admin, Self::Internal];

    /// Name on the wire: in the `roles` claim and in `x-user-roles`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Premium => "PREMIUM",
            Self::Vip => "VIP",
            Self::Admin => "ADMIN",
            Self::Internal => "INTERNAL",
        }
    }

    /// The role of a name; case matters.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Roles(u8);

impl Roles {
    /// No role.
    pub const NONE: Self = Self(0);

    /// The set with `role` added.
    #[must_use]
    pub fn with(self, role: Role) -> Self {
        Self(self.0 | role.bit())
    }

    /// The role itself is in the set; inclusion is not followed.
    #[must_use]
    pub fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// The set holds `role` or one that includes it.
    #[must_use]
    pub fn includes(self, role: Role) -> bool {
        match role {
            Role::Standard => self.has(Role::Standard) || self.includes(Role::Premium),
            Role::Premium => self.has(Role::Premium) || self.has(Role::Vip),
            other => self.has(other),
        }
    }

    /// Nothing is in the set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles, least first.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Names joined by commas, as `x-user-roles` carries them.
impl std::fmt::Display for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, role) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(role.as_str())?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Roles({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vip_includes_premium_includes_standard_and_no_more() {
        let vip = Roles::NONE.with(Role::Vip);
        assert!(vip.includes(Role::Vip) && vip.includes(Role::Premium) && vip.includes(Role::Standard));
        assert!(!vip.includes(Role::Admin) && !vip.includes(Role::Internal));
        let admin = Roles::NONE.with(Role::Admin);
        assert!(!admin.includes(Role::Standard));
        assert!(!Roles::NONE.with(Role::Standard).includes(Role::Premium));
    }

    #[test]
    fn display_lists_names() {
        let roles: Roles = [Role::Vip, Role::Standard].into_iter().collect();
        assert_eq!(roles.to_string(), "STANDARD,VIP");
        assert_eq!(Role::parse("VIP"), Some(Role::Vip));
        assert_eq!(Role::parse("vip"), None);
    }
}
